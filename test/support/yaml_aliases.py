"""A line of YAML that nests gigabytes of text through aliases."""

NESTED = '[{}]'.format(', '.join(['&a0 [x, x]', *(
    f'&a{level} [{", ".join([f"*a{level - 1}"] * 10)}]' for level in range(1, 15))]))
