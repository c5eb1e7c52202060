"""The toolkit in scikit-learn's form."""
