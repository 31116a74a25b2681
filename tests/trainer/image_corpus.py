"""Image files of every format, kind and orientation, each with what a person sees in it.

The files are made with Pillow, and by hand where Pillow does not write a kind. What a person
sees is computed here from the picture that went in or by Pillow, not by the code under test.
"""

import contextlib
import functools
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps

from tests.trainer.photographs import photograph

WIDTH, HEIGHT = 44, 60
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Sample:
    """A file; whether the graph decodes it as it is; whether people see 16 bits or fewer."""

    name: str
    content: bytes
    in_graph: bool


@functools.cache
def picture() -> Image.Image:
    """A photograph, so that no two of its eight turns look alike."""
    return photograph(0, 640, 427, enlarged=True).resize((WIDTH, HEIGHT), Image.Resampling.BOX)


@functools.cache
def mask() -> Image.Image:
    """Alpha that rises from left to right, and is 0 in a corner."""
    alpha = np.tile(np.linspace(0, 255, WIDTH).astype("uint8"), (HEIGHT, 1))
    alpha[:20, :20] = 0
    return Image.fromarray(alpha)


def with_alpha(mode: str = "RGBA") -> Image.Image:
    image = picture().convert(mode)
    image.putalpha(mask())
    return image


def encode(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def exif(orientation: int, endian: str = "<") -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    tags[0x010F] = "maker"  # of a length that does not fit into its entry
    tags.endian = endian
    return tags.tobytes()


def xmp(orientation: int) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def profile(name: str) -> bytes:
    """An ICC profile: sRGB; wide, with three gammas and other colours; grey."""
    if name == "sRGB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = {
        "rXYZ": _xyz(0.60974, 0.31111, 0.01947),  # Adobe RGB (1998)
        "gXYZ": _xyz(0.20528, 0.62567, 0.06087),
        "bXYZ": _xyz(0.14919, 0.06322, 0.74457),
        **dict.fromkeys(("rTRC", "gTRC", "bTRC"), _curve(name)),
        "wtpt": _xyz(0.9642, 1.0, 0.8249),
    }
    space = b"RGB "
    if name == "grey":
        tags, space = {"kTRC": _curve("gamma"), "wtpt": _xyz(0.9642, 1.0, 0.8249)}, b"GRAY"
    return _icc(space, tags)


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(kind: str) -> bytes:
    if kind == "samples":
        samples = np.round(np.linspace(0, 1, 1024) ** 2.2 * 65535).astype(">u2")
        return b"curv\0\0\0\0" + struct.pack(">I", 1024) + samples.tobytes()
    if kind.startswith("formula"):
        number = int(kind[-1])
        values = {
            0: [2.2],
            1: [2.2, 1.02, -0.02],
            2: [2.2, 1 / 1.055, 0.03 / 1.055, 0.01],
            3: [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045],
            4: [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0],
        }[number]
        packed = struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
        return b"para\0\0\0\0" + struct.pack(">HH", number, 0) + packed
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"


def _icc(space: bytes, tags: dict[str, bytes]) -> bytes:
    offset = 132 + 12 * len(tags)
    table, body = b"", b""
    for name, tag in tags.items():
        table += name.encode() + struct.pack(">II", offset + len(body), len(tag))
        body += tag
    head = b"\0\0\0\0lcms\x02\x40\0\0mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    content = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(content)) + content[4:]


def png(
    pixels: np.ndarray,
    colour: int,
    bits: int = 8,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    late: tuple[tuple[bytes, bytes], ...] = (),
    interlaced: bool = False,
    idat_bytes: int = 2**20,
) -> bytes:
    """A PNG of [height, width, channels] samples, as Pillow does not write it."""
    height, width = pixels.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
        passes += [(0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, across in passes:
        part = pixels[top::down, left::across]
        for row in part if part.size else ():
            rows += b"\0" + _packed(row.reshape(-1), bits)
    packed = zlib.compress(rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    data = [packed[at : at + idat_bytes] for at in range(0, len(packed), idat_bytes)]
    parts = [(b"IHDR", header), *chunks, *((b"IDAT", one) for one in data), *late, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in parts)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _packed(samples: np.ndarray, bits: int) -> bytes:
    if bits >= 8:
        return samples.astype(f">u{bits // 8}").tobytes()
    digits = (samples[:, np.newaxis] >> np.arange(bits)[::-1]) & 1
    return np.packbits(digits.astype("uint8").reshape(-1)).tobytes()


def jpegs() -> Iterator[Sample]:
    kinds: dict[str, tuple[str, dict[str, object]]] = {
        "plain": ("RGB", {}),
        "full colour": ("RGB", {"subsampling": 0}),
        "half colour": ("RGB", {"subsampling": 1}),
        "progressive": ("RGB", {"progressive": True}),
        "restarting": ("RGB", {"restart_marker_blocks": 2}),
        "RGB inside": ("RGB", {"keep_rgb": True, "subsampling": 0}),
        "grey": ("L", {}),
        "CMYK": ("CMYK", {}),
        "progressive CMYK": ("CMYK", {"progressive": True}),
        "commented": ("RGB", {"comment": b"a comment" * 700}),
        "sRGB": ("RGB", {"icc_profile": profile("sRGB")}),
        "grey with sRGB": ("L", {"icc_profile": profile("sRGB")}),
    }
    for name, (mode, options) in kinds.items():
        content = encode(picture().convert(mode), "JPEG", quality=92, **options)
        yield Sample(f"JPEG {name}", content, True)
    for name in ("gamma", "samples", *(f"formula {number}" for number in range(5))):
        content = encode(picture(), "JPEG", quality=92, icc_profile=profile(name))
        # The third formula has a black that is not black.
        yield Sample(f"JPEG with a wide profile, {name}", content, name != "formula 2")
    content = encode(picture().convert("L"), "JPEG", quality=92, icc_profile=profile("grey"))
    yield Sample("JPEG with a grey profile", content, False)
    content = encode(picture().convert("CMYK"), "JPEG", icc_profile=profile("gamma"))
    yield Sample("CMYK JPEG with a profile of another space", content, False)
    content = encode(picture(), "JPEG", quality=92, xmp=xmp(6))
    yield Sample("JPEG turned by XMP", content, False)
    content = encode(picture(), "JPEG", quality=92, xmp=xmp(1))
    yield Sample("JPEG upright by XMP", content, True)
    content = encode(picture(), "MPO", quality=92, save_all=True, append_images=[picture()])
    yield Sample("MPO", content, True)
    for orientation in range(10):
        for endian in "<>":
            content = encode(picture(), "JPEG", quality=92, exif=exif(orientation, endian))
            yield Sample(f"JPEG turned {orientation}{endian}", content, True)


def pngs() -> Iterator[Sample]:
    rgb = np.asarray(picture())
    grey = np.asarray(picture().convert("L"))[..., np.newaxis]
    alpha = np.asarray(mask())[..., np.newaxis]
    samples = {
        "grey": (grey, 0, 8),
        "colour": (rgb, 2, 8),
        "grey alpha": (np.concatenate([grey, alpha], 2), 4, 8),
        "alpha": (np.concatenate([rgb, alpha], 2), 6, 8),
        "16-bit grey": (grey.astype(int) * 257, 0, 16),
        "16-bit colour": (rgb.astype(int) * 257, 2, 16),
        "16-bit grey alpha": (np.concatenate([grey, alpha], 2).astype(int) * 257, 4, 16),
        "16-bit alpha": (np.concatenate([rgb, alpha], 2).astype(int) * 257, 6, 16),
        "1-bit grey": (grey >> 7, 0, 1),
        "2-bit grey": (grey >> 6, 0, 2),
        "4-bit grey": (grey >> 4, 0, 4),
    }
    for name, (pixels, colour, bits) in samples.items():
        for interlaced in (False, True):
            content = png(pixels, colour, bits, interlaced=interlaced, idat_bytes=500)
            yield Sample(f"PNG {name}{' interlaced' * interlaced}", content, True)
    indexed = picture().quantize(200)
    palette = (b"PLTE", bytes(indexed.getpalette()[:600]))
    indices = np.asarray(indexed)[..., np.newaxis]
    yield Sample("PNG indexed", png(indices, 3, chunks=(palette,)), True)
    clear = (b"tRNS", bytes(range(0, 200)))
    yield Sample("PNG indexed and clear", png(indices, 3, chunks=(palette, clear)), True)
    key = (b"tRNS", struct.pack(">3H", *map(int, rgb[30, 20])))
    yield Sample("PNG with a clear colour", png(rgb, 2, chunks=(key,)), True)
    key = (b"tRNS", struct.pack(">H", int(grey[30, 20, 0])))
    yield Sample("PNG with a clear grey", png(grey, 0, chunks=(key,)), True)
    for name in ("sRGB", "gamma"):
        content = encode(picture(), "PNG", icc_profile=profile(name))
        yield Sample(f"PNG with a profile, {name}", content, True)
    content = encode(with_alpha(), "PNG", icc_profile=profile("sRGB"))
    yield Sample("clear PNG with sRGB", content, True)
    content = encode(with_alpha(), "PNG", icc_profile=profile("gamma"))
    yield Sample("clear PNG with a wide profile", content, False)
    content = encode(picture().convert("L"), "PNG", icc_profile=profile("grey"))
    yield Sample("PNG with a grey profile", content, False)
    for orientation in range(1, 9):
        body = exif(orientation)[6:]
        before = png(rgb, 2, chunks=((b"eXIf", body),))
        yield Sample(f"PNG turned {orientation}", before, True)
        after = png(rgb, 2, late=((b"eXIf", body),), idat_bytes=100)
        yield Sample(f"PNG turned {orientation} at its end", after, True)
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(6)
    yield Sample("PNG turned by XMP", png(rgb, 2, chunks=((b"iTXt", text),)), False)
    text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(6))
    yield Sample("PNG turned by packed XMP", png(rgb, 2, chunks=((b"iTXt", text),)), False)
    hexed = exif(6).hex().encode()
    text = b"Raw profile type exif\0\nexif\n" + b"%8d\n" % (len(hexed) // 2) + hexed + b"\n"
    yield Sample("PNG turned by a text", png(rgb, 2, chunks=((b"tEXt", text),)), False)
    frames = [picture(), picture().rotate(180)]
    content = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield Sample("PNG with frames", content, True)


def gifs() -> Iterator[Sample]:
    indexed = picture().quantize(200)
    yield Sample("GIF", encode(indexed, "GIF"), True)
    yield Sample("GIF interlaced", encode(indexed, "GIF", interlace=1), True)
    yield Sample("GIF grey", encode(picture().convert("L"), "GIF"), True)
    more = {"save_all": True, "append_images": [indexed.rotate(180)]}
    yield Sample("GIF with frames", encode(indexed, "GIF", **more), True)
    clear = encode(indexed, "GIF", transparency=int(np.asarray(indexed)[30, 20]))
    yield Sample("GIF with a clear colour", clear, False)
    wider = bytearray(encode(indexed, "GIF"))
    wider[6:10] = struct.pack("<HH", WIDTH + 20, HEIGHT + 10)
    yield Sample("GIF larger than its frame", bytes(wider), False)


def bmps() -> Iterator[Sample]:
    yield Sample("BMP", encode(picture(), "BMP"), True)
    for mode in ("1", "L", "RGBA"):
        image = with_alpha() if mode == "RGBA" else picture().convert(mode)
        yield Sample(f"BMP {mode}", encode(image, "BMP"), False)
    yield Sample("BMP indexed", encode(picture().quantize(100), "BMP"), False)
    yield Sample("BMP with more behind it", encode(picture(), "BMP") + b"more", False)
    yield Sample("BMP top down", top_down(encode(picture(), "BMP")), True)
    rgb = np.asarray(picture()).astype("<u2")[::-1]
    packed = (rgb[..., 0] >> 3 << 11) | (rgb[..., 1] >> 2 << 5) | (rgb[..., 2] >> 3)
    masks = struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    yield Sample("BMP of 16 bits with masks", _bmp(16, 3, masks, packed.tobytes()), False)


def top_down(content: bytes) -> bytes:
    turned = bytearray(content)
    turned[22:26] = struct.pack("<i", -HEIGHT)
    return bytes(turned)


def _bmp(bits: int, compression: int, masks: bytes, pixels: bytes) -> bytes:
    info = struct.pack(
        "<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, compression, len(pixels), 2835, 2835, 0, 0
    )
    offset = 14 + len(info) + len(masks)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + info + masks + pixels


def webps() -> Iterator[Sample]:
    for name, options in {"lossy": {"quality": 92}, "lossless": {"lossless": True}}.items():
        yield Sample(f"WebP {name}", encode(picture(), "WEBP", **options), True)
        yield Sample(f"WebP {name}, clear", encode(with_alpha(), "WEBP", **options), True)
        wide = encode(picture(), "WEBP", icc_profile=profile("gamma"), **options)
        yield Sample(f"WebP {name} with a wide profile", wide, True)
        for orientation in (1, 3, 6, 7, 8):
            turned = encode(picture(), "WEBP", exif=exif(orientation), **options)
            yield Sample(f"WebP {name} turned {orientation}", turned, True)
    frames = {"save_all": True, "append_images": [picture().rotate(180)]}
    yield Sample("WebP with frames", encode(picture(), "WEBP", lossless=True, **frames), False)
    yield Sample("WebP turned by XMP", encode(picture(), "WEBP", xmp=xmp(8)), False)


def others() -> Iterator[Sample]:
    for mode in ("1", "L", "RGB", "CMYK"):
        for orientation in (1, 6, 7):
            tags = {ORIENTATION: orientation}
            content = encode(picture().convert(mode), "TIFF", tiffinfo=tags)
            yield Sample(f"TIFF {mode} turned {orientation}", content, False)
    yield Sample("TIFF indexed", encode(picture().quantize(99), "TIFF"), False)
    yield Sample("TIFF clear", encode(with_alpha(), "TIFF", compression="tiff_lzw"), False)
    deep = Image.fromarray(np.asarray(picture().convert("L")).astype("uint16") * 257)
    yield Sample("TIFF of 16 bits", encode(deep, "TIFF"), False)
    wide = encode(picture(), "TIFF", icc_profile=profile("gamma"), compression="jpeg")
    yield Sample("TIFF with a wide profile", wide, False)
    for orientation in (1, 6):
        content = encode(picture(), "AVIF", quality=95, exif=exif(orientation))
        yield Sample(f"AVIF turned {orientation}", content, False)
    yield Sample("AVIF clear", encode(with_alpha(), "AVIF", quality=95), False)


@functools.cache
def corpus() -> tuple[Sample, ...]:
    return (*jpegs(), *pngs(), *gifs(), *bmps(), *webps(), *others())


def seen(content: bytes) -> Image.Image:
    """What a person sees, by Pillow: upright, in sRGB, on white.

    Raises:
      Exception: whatever Pillow raises on what it does not read.
    """
    image = Image.open(io.BytesIO(content))
    image.load()
    icc = image.info.get("icc_profile")
    if content.startswith(b"\x89PNG") and content[24] == 16:
        image = _deep_png(image, content)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype("uint8"))
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    if icc:
        try:
            srgb = ImageCms.createProfile("sRGB")
            own = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            image = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")
        except ImageCms.PyCMSError:
            pass
    image = image.convert("RGB")
    if alpha is not None:
        white = Image.new("RGB", image.size, "white")
        image = Image.composite(image, white, alpha)
    return image


def _deep_png(image: Image.Image, content: bytes) -> Image.Image:
    """Pillow compares a clear colour of 16 bits with the upper 8."""
    if b"tRNS" in content:
        raise ValueError("Pillow does not read it right")
    return image
