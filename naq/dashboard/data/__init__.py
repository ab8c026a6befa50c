"""What there is to show, asked of the server and of the supervisor.

model       plain values, for the pages and the API alike
timeline    what has happened to a job, in the order of time
rows        what is stored, turned into what is shown
queries     questions to the server
link        the connection to it, whenever there is one
services    questions to the supervisor of this project
metrics     everything in numbers, for collectors
"""
