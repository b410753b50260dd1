# The installed tree. (to come)
