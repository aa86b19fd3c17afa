"""What runs as a process: the gunicorn configuration, our worker class, the embedded state server, the simulator."""
