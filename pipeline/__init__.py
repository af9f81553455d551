"""What happens to a scene: plan, ingest, infer, vectorize, publish, and the run that orders them."""
