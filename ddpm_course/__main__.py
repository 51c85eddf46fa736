"""`python -m ddpm_course` is `ddpm-course`."""

from ddpm_course.cli.main import main

main()
