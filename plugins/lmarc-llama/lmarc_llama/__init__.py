"""lmarc backend `llama`: GGUF language models, run by llama.cpp."""
