"""lmarc backend: language models in torch, exact on every machine."""
