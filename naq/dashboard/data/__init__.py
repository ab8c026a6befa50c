"""What there is to show, asked of the server and of the supervisor.

model       plain values, for the pages and the API alike
arguments   what may be shown of a payload that must not be executed
rows        what is stored, turned into what is shown
queries     questions to the server
link        the connection to it, whenever there is one
services    questions to the supervisor of this project
metrics     everything in numbers, for collectors
"""
