#!/bin/sh
# shellcheck shell=dash
# The protocol handler of netifd for `proto pptp`, with the options of OpenWrt's ppp-mod-pptp: `pptpctl` instead of pppd.
#
# setup turns the options into a profile, by `pptpctl import`, and has netifd run ../pptpctl-netifd, which becomes
# `pptpctl up` and reports addresses and resolvers. netifd owns routes, resolvers, metric and firewall zone; the profile
# has `link.manage = false`. README.md beside this tree has the details.

NETIFD_MAIN_DIR="${NETIFD_MAIN_DIR:-/lib/netifd}"
# For root only, on a file system in memory.
PPTP_STATE="${PPTP_STATE:-/var/run/pptpctl-netifd}"

# The options that `pptpctl import` reads, or names as left out. server, password, ipv6 and interface are read here.
PPTP_STRINGS="username keepalive pppd_options connect disconnect pppname unnumbered reqprefix"
PPTP_NUMBERS="mtu demand maxfail holdoff"
PPTP_FLAGS="keepalive_adaptive authfail persist sourcefilter delegate norelease"

[ -n "$INCLUDE_ONLY" ] || {
	# shellcheck source=/dev/null
	. "$NETIFD_MAIN_DIR/netifd-proto.sh"
	init_proto "$@"
}

proto_pptp_init_config() {
	local option
	for option in server password ipv6 interface $PPTP_STRINGS; do
		proto_config_add_string "$option"
	done
	for option in $PPTP_NUMBERS; do
		proto_config_add_int "$option"
	done
	for option in $PPTP_FLAGS; do
		proto_config_add_boolean "$option"
	done
	# Read by init_proto of netifd-proto.sh.
	# shellcheck disable=SC2034
	available=1 no_device=1 lasterror=1
}

pptp_log() {
	echo "pptpctl: $*" >&2
}

# A value in quotes, as UCI has it: 'it'\''s'.
pptp_quoted() {
	printf '%s\n' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"
}

# The interface as `pptpctl import` reads it. What netifd does itself is switched off: it asks for no resolvers and routes.
pptp_uci() {
	local interface="$1" option value
	printf "config interface '%s'\n\toption proto 'pptp'\n\toption server 'server'\n" "$interface"
	printf "\toption defaultroute '0'\n\toption peerdns '0'\n\toption auto '0'\n"
	for option in $PPTP_STRINGS $PPTP_NUMBERS $PPTP_FLAGS; do
		value=""
		json_get_var value "$option"
		[ -n "$value" ] || continue
		case "$option" in
			mtu)
				if [ "$value" -lt 576 ] || [ "$value" -gt 1500 ]; then
					pptp_log "\`mtu\` is left out: $value is not between 576 and 1500"
					continue
				fi
				;;
			authfail)
				[ "$value" = 1 ] || pptp_log "\`authfail\` is left out: a refused log-in is never repeated"
				continue
				;;
		esac
		value=$(printf '%s' "$value" | tr '\r\n' '  ')
		printf "\toption %s %s\n" "$option" "$(pptp_quoted "$value")"
	done
}

# The name of the profile. Names of interfaces may have capitals, those of profiles may not.
pptp_profile_name() {
	printf 'netifd-%s\n' "$1" | sed 's/[A-Z]/.&/g' | tr '[:upper:]' '[:lower:]'
}

# Writes the profile of an interface: what import made of the options, with these addresses of the server.
pptp_profile() {
	local interface="$1" servers="$2" ipv6="$3" name imported remarks status
	name=$(pptp_profile_name "$interface")
	remarks="$PPTP_STATE/$interface.remarks"
	# Without the environment, which has the password: json_load exports all options.
	imported=$(pptp_uci "$interface" | env -i PATH="$PATH" pptpctl import --from openwrt --name "$name" - 2>"$remarks")
	status=$?
	# Of these remarks one is about the file, the others about what this handler and netifd do.
	sed -n '/taken for \|^profile `\|needs no setting\|no password\|write it there\|etc\/config\/firewall\|options of all PPTP/!s/^ *\(-:[0-9]*: \)*/pptpctl: /p' "$remarks" >&2
	rm -f "$remarks"
	[ "$status" = 0 ] || return 1
	{
		printf '%s\n' "$imported" | sed '/^ *\(server\|password\|ppp\.ipv6\|retry\|autostart\|hooks\)[. ]/d'
		printf 'server = [%s]\n' "$servers"
		printf 'password.fd = 3\nlink.manage = false\n'
		# netifd kills what has not ended after 5 seconds.
		printf 'timeouts.stop = "1s"\n'
		# It goes on trying here, with growing waits; after twelve failures netifd begins again, and looks the name up again.
		# A loss is seen by the end of the first wait.
		printf 'retry = { from-start = true, attempts = 12, first = "200ms" }\n'
		[ -z "$ipv6" ] || printf 'ppp.ipv6 = true\n'
	} >"$PPTP_STATE/$interface.toml"
}

# Removes what setup has written.
pptp_forget() {
	rm -f "$PPTP_STATE/$1.toml" "$PPTP_STATE/$1.password" "$PPTP_STATE/$1.events" "$PPTP_STATE/$1.dhcpv6"
}

# Ends a setup that cannot succeed until the options change.
pptp_refuse() {
	local interface="$1" why="$2"
	pptp_log "$why"
	pptp_forget "$interface"
	proto_notify_error "$interface" INVALID_OPTIONS
	proto_block_restart "$interface"
	proto_setup_failed "$interface"
	exit 1
}

proto_pptp_setup() {
	local interface="$1" server="" password="" ipv6="" via="" address servers=""
	json_get_vars server password ipv6
	json_get_var via interface
	umask 077
	mkdir -p "$PPTP_STATE" && chmod 700 "$PPTP_STATE"
	pptp_forget "$interface"

	[ -n "$server" ] || pptp_refuse "$interface" "the interface has no \`option server\`"
	[ -n "$password" ] || pptp_refuse "$interface" "the interface has no \`option password\`"
	case "$ipv6" in
		0 | "") ipv6="" ;;
		auto) : >"$PPTP_STATE/$interface.dhcpv6" ;;
	esac

	# netifd adds the routes to these addresses, and takes the interface down with the one that it needs. The tunnel uses
	# the same ones: a name may have others the next time.
	for address in $(resolveip -4 -t 5 "$server"); do
		# In a process of its own: in old versions it clears the options.
		(proto_add_host_dependency "$interface" "$address" "$via")
		servers="$servers${servers:+, }\"$address\""
	done
	[ -n "$servers" ] || {
		pptp_log "the name of the server could not be resolved: $server"
		pptp_forget "$interface"
		proto_notify_error "$interface" NAME_NOT_RESOLVED
		# Else netifd would try again at once.
		sleep 5
		proto_setup_failed "$interface"
		exit 1
	}

	pptp_profile "$interface" "$servers" "$ipv6" || pptp_refuse "$interface" "the options cannot be used, see above"
	printf '%s\n' "$password" >"$PPTP_STATE/$interface.password"
	proto_run_command "$interface" "$NETIFD_MAIN_DIR/pptpctl-netifd" "$interface" "$(pptp_profile_name "$interface")"
}

# ERROR is the exit status of `pptpctl up`, if it has ended by itself; its manual page has the list.
proto_pptp_teardown() {
	local interface="$1"
	case "$ERROR" in
		"" | 0 | 24) ;;
		2 | 3) proto_notify_error "$interface" INVALID_OPTIONS ;;
		4) proto_notify_error "$interface" NO_PERMISSION ;;
		19) proto_notify_error "$interface" AUTH_FAILED ;;
		20) proto_notify_error "$interface" ENCRYPTION_REFUSED ;;
		22) proto_notify_error "$interface" NO_TUN ;;
		# Reported already, by the event.
		1[0-8] | 21 | 2[5-7] | 30) ;;
		*) proto_notify_error "$interface" "EXIT_STATUS_$ERROR" ;;
	esac
	case "$ERROR" in
		"" | 0 | 24) ;;
		# A new attempt without a change fails again, or could lock the account.
		2 | 3 | 4 | 19 | 20 | 22 | 28) proto_block_restart "$interface" ;;
		# Else netifd would try again at once.
		*) sleep 2 ;;
	esac
	proto_kill_command "$interface"
	pptp_forget "$interface"
}

[ -n "$INCLUDE_ONLY" ] || add_protocol pptp
