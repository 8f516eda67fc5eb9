# A stand-in for OpenWrt's netifd-proto.sh and jshn.sh, as their documents describe the functions: each call becomes a line
# of $NETIFD_CALLS. As in the real ones, what begins a message to netifd clears the JSON that was read before.

netifd_call() { printf '%s\n' "$*" >>"$NETIFD_CALLS"; }

# JSON to lines of PATH=VALUE; the path of an element is its number.
json_load() {
	JSON_CUR=""
	JSON_LINES=$(printf '%s' "$1" | awk '
		function blank() { while (substr(s, i, 1) ~ /[ \t\n]/) i++ }
		function text(  r, c) {
			for (i++; (c = substr(s, i, 1)) != "\""; i++) {
				if (i > length(s)) exit 1
				if (c == "\\") c = substr(s, ++i, 1)
				r = r c
			}
			i++
			return r
		}
		function value(path,  c, n, name, start) {
			blank(); c = substr(s, i, 1)
			if (c == "\"") { print path "=" text(); return }
			if (c == "{" || c == "[") {
				print path "="
				for (i++; ; i++) {
					blank()
					if (substr(s, i, 1) ~ /[]}]/) { i++; return }
					if (i > length(s)) exit 1
					name = ++n
					if (c == "{") { name = text(); blank(); i++ }
					value(path "/" name); blank()
					if (substr(s, i, 1) != ",") { i++; return }
				}
			}
			for (start = i; substr(s, i, 1) ~ /[-+.a-z0-9A-Z]/; i++);
			if (i == start) exit 1
			print path "=" substr(s, start, i - start)
		}
		{ s = s $0 }
		END { i = 1; value("") }')
}
json_init() { JSON_LINES="" JSON_CUR="" JSON_OUT=""; }
json_get_var() {
	local __line
	__line=$(printf '%s\n' "$JSON_LINES" | grep "^$JSON_CUR/$2=") || {
		eval "$1=\${3-}"
		return 1
	}
	__line=${__line#*=}
	case $__line in true) __line=1 ;; false) __line=0 ;; esac
	eval "$1=\$__line"
}
json_get_vars() {
	local __name
	for __name in "$@"; do json_get_var "$__name" "$__name"; done
}
json_get_values() {
	eval "$1=\$(printf '%s\n' \"\$JSON_LINES\" | sed -n \"s,^\$JSON_CUR/$2/[0-9]*=,,p\" | tr '\n' ' ')"
}
json_select() {
	case $1 in
		..) JSON_CUR=${JSON_CUR%/*} ;;
		*) printf '%s\n' "$JSON_LINES" | grep -q "^$JSON_CUR/$1=" && JSON_CUR=$JSON_CUR/$1 ;;
	esac
}
json_add_string() { JSON_OUT="$JSON_OUT $1=$2"; }
json_add_int() { JSON_OUT="$JSON_OUT $1=$2"; }
json_dump() { echo "$JSON_OUT"; }

proto_config_add_string() { echo "string $1"; }
proto_config_add_int() { echo "int $1"; }
proto_config_add_boolean() { echo "boolean $1"; }

proto_init_update() { json_init; netifd_call init_update "$@"; }
proto_add_ipv4_address() { netifd_call ipv4_address "$@"; }
proto_add_ipv6_address() { netifd_call ipv6_address "$@"; }
proto_add_ipv4_route() { netifd_call ipv4_route "$@"; }
proto_add_dns_server() { netifd_call dns_server "$@"; }
proto_add_data() { JSON_OUT=""; }
proto_close_data() { netifd_call "data$JSON_OUT"; }
proto_send_update() { netifd_call send_update "$@"; }
proto_add_host_dependency() { json_init; netifd_call host_dependency "$@"; }
proto_run_command() { json_init; netifd_call run_command "$@"; }
proto_kill_command() { json_init; netifd_call kill_command "$@"; }
proto_notify_error() { json_init; netifd_call notify_error "$@"; }
proto_block_restart() { json_init; netifd_call block_restart "$@"; }
proto_setup_failed() { json_init; netifd_call setup_failed "$@"; }

init_proto() {
	proto=$1 cmd=$2 interface=$3 data=$4
	add_protocol() {
		case $cmd in
			dump)
				"proto_$1_init_config"
				echo "$1 available=$available no_device=$no_device lasterror=$lasterror"
				;;
			setup | teardown)
				json_load "$data"
				"proto_$1_$cmd" "$interface"
				;;
		esac
	}
}

# Programs of OpenWrt that are not in BusyBox.
resolveip() {
	[ "$1 $2 $3" = "-4 -t 5" ] || return 1
	case $4 in [0-9]*) echo "$4" ;; esac
}
ubus() { netifd_call ubus "$@"; }
