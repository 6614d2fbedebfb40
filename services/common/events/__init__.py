"""What an event is: the contract, its checks, its columns, features, words and the hour around it."""
