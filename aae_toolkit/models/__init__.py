"""The networks of an adversarial autoencoder, the deployed classifier, and the model directory."""
