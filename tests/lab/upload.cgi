#!/bin/sh
# The receiving half of the upload test: says what arrived, so that the sender can compare.
printf 'Content-Type: text/plain\r\n\r\n'
head -c "${CONTENT_LENGTH:-0}" | md5sum | cut -d' ' -f1
