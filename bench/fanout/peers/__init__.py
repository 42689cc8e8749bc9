"""What others do with the same events, each in its own words: several events per write where its protocol has that."""
