"""What `thaw compile` prints of the pods' sizes."""

from rich.table import Table

from pipeline.cli.terminal import out
from pipeline.cluster.sizes import NodeSize, in_words


def print_sizes(sizes: list[NodeSize], num_images: int) -> None:
    """Prints the local disk and the memory of each node's pod."""
    table = Table(box=None, pad_edge=False)
    table.add_column("node")
    table.add_column("local disk", justify="right")
    table.add_column("memory", justify="right")
    for size in sizes:
        table.add_row(size.node, in_words(size.disk_bytes), in_words(size.memory_bytes))
    out.print(f"Each pod needs, for {num_images:,} images of about 110 kB:")
    out.print(table)
