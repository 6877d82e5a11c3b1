import sys

from rope_mt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
