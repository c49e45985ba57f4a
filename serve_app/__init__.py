"""HTTP (Ray Serve), command line and embedded services. Reaches actors by their client."""
