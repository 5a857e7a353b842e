"""Looking into machines and instruction sets: what developers use, and nothing that guests need."""
