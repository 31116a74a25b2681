"""The same pipeline on a cluster: compiled for Kubeflow Pipelines or Vertex AI, and handed in."""
