#!/bin/sh
gw=`netstat -rn -f inet | grep ^default | awk '{print $2};'`
route add -host vpn-gateway.net ${gw}
