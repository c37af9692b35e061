"""Being written by the engineer of /tmp/w/claims_tests.txt."""
