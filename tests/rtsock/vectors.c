/*
 * Routing messages in the layout of a system's own headers, for tests/rtsock/main.rs. contrib/cross headers
 * compiles this file for each system and compares section "vectors" with SYSTEM.hex (UPDATE_VECTORS=1 rewrites
 * it). Each vector: name (24 bytes), length (8 bytes), message, padded to a multiple of 8 bytes.
 */
#include <sys/types.h>
#include <sys/socket.h>
#include <net/if.h>
#include <net/if_dl.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stddef.h>

#define ROUND(n) (((n) + 7) / 8 * 8)
#define VECTOR(name, type, ...) \
	static const struct { char n[24]; unsigned long len; type m; } name \
	    __attribute__((used, aligned(8), section("vectors"))) = \
	    { #name, MESSAGE(type), __VA_ARGS__ }
#define MESSAGE(type) sizeof(type)

typedef union { struct sockaddr_dl a; char round[ROUND(sizeof(struct sockaddr_dl))]; } dl;
typedef union { struct sockaddr_in6 a; char round[ROUND(sizeof(struct sockaddr_in6))]; } in6;
typedef struct sockaddr_in in4;

#define IN4(a, b, c, d) { .sin_len = 16, .sin_family = AF_INET, .sin_addr = { __builtin_bswap32((a) << 24 | (b) << 16 | (c) << 8 | (d)) } }
#define IN6(...) { .a = { .sin6_len = 28, .sin6_family = AF_INET6, .sin6_addr = { { { __VA_ARGS__ } } } } }
#define DL(index) { .a = { .sdl_len = sizeof(struct sockaddr_dl), .sdl_family = AF_LINK, .sdl_index = index } }
#define DL_NAMED(index, name) { .a = { .sdl_len = sizeof(struct sockaddr_dl), .sdl_family = AF_LINK, \
	.sdl_index = index, .sdl_nlen = sizeof(name) - 1, .sdl_data = name } }

#if defined(__FreeBSD__)
#define OURS (RTF_PROTO1 | RTF_PROTO3)
#define FMASK .rtm_fmask = RTF_STATIC | RTF_REJECT | RTF_BLACKHOLE | RTF_PROTO1 | RTF_PROTO2 | RTF_PROTO3,
#elif defined(__OpenBSD__)
#define OURS (RTF_PROTO1 | RTF_PROTO3)
#define FMASK .rtm_fmask = RTF_STATIC | RTF_REJECT | RTF_BLACKHOLE | RTF_PROTO1 | RTF_PROTO2 | RTF_PROTO3,
#else
#define OURS (RTF_PROTO1 | RTF_PROTO2)
#define FMASK
#endif
#ifdef __OpenBSD__
#define HDRLEN(f, t) .f = sizeof(struct t),
#else
#define HDRLEN(f, t)
#endif

#define HEADER(t, kind) .h = { .rtm_msglen = sizeof(t), .rtm_version = RTM_VERSION, .rtm_type = kind, \
	HDRLEN(rtm_hdrlen, rt_msghdr)

/* Requests of this program. */
typedef struct { struct rt_msghdr h; in4 dst, gw, mask; dl ifp; } add4;
VECTOR(add_net, add4, { HEADER(add4, RTM_ADD) .rtm_index = 3, .rtm_seq = 7,
	.rtm_flags = RTF_UP | RTF_GATEWAY | RTF_STATIC | OURS,
	.rtm_addrs = RTA_DST | RTA_GATEWAY | RTA_NETMASK | RTA_IFP },
	IN4(10, 0, 0, 0), IN4(192, 0, 2, 1), IN4(255, 0, 0, 0), DL(3) });

typedef struct { struct rt_msghdr h; in4 dst, gw; dl ifp; in4 ifa; } host4;
VECTOR(add_host, host4, { HEADER(host4, RTM_ADD) .rtm_index = 1, .rtm_seq = 8,
	.rtm_flags = RTF_UP | RTF_GATEWAY | RTF_HOST | RTF_STATIC | OURS,
	.rtm_addrs = RTA_DST | RTA_GATEWAY | RTA_IFP | RTA_IFA },
	IN4(203, 0, 113, 9), IN4(192, 0, 2, 1), DL(1), IN4(192, 0, 2, 10) });

typedef struct { struct rt_msghdr h; in6 dst; dl gw; in6 mask; dl ifp; } add6;
VECTOR(add_net6, add6, { HEADER(add6, RTM_ADD) .rtm_index = 3, .rtm_seq = 9,
	.rtm_flags = RTF_UP | RTF_STATIC | OURS,
	.rtm_addrs = RTA_DST | RTA_GATEWAY | RTA_NETMASK | RTA_IFP },
	IN6(0x20, 0x01, 0x0d, 0xb8), DL(3), IN6(0xff, 0xff, 0xff, 0xff), DL(3) });

VECTOR(change_default, add4, { HEADER(add4, RTM_CHANGE) .rtm_index = 3, .rtm_seq = 10, FMASK
	.rtm_flags = RTF_UP | RTF_GATEWAY | RTF_STATIC | OURS,
	.rtm_addrs = RTA_DST | RTA_GATEWAY | RTA_NETMASK | RTA_IFP,
	.rtm_inits = RTV_MTU, .rtm_rmx = { .rmx_mtu = 1400 } },
	IN4(0, 0, 0, 0), IN4(10, 9, 9, 9), IN4(0, 0, 0, 0), DL(3) });

typedef struct { struct rt_msghdr h; in4 dst, mask; } del4;
VECTOR(delete_net, del4, { HEADER(del4, RTM_DELETE) .rtm_seq = 11,
	.rtm_flags = RTF_UP, .rtm_addrs = RTA_DST | RTA_NETMASK },
	IN4(10, 0, 0, 0), IN4(255, 0, 0, 0) });

typedef struct { struct rt_msghdr h; in4 dst; dl ifp; } get4;
VECTOR(get_host, get4, { HEADER(get4, RTM_GET) .rtm_seq = 12, .rtm_flags = RTF_UP | RTF_HOST,
	.rtm_addrs = RTA_DST | RTA_IFP }, IN4(203, 0, 113, 9), DL(0) });

#ifdef __OpenBSD__
typedef union { struct sockaddr_rtlabel a; char round[ROUND(sizeof(struct sockaddr_rtlabel))]; } label;
typedef struct { struct rt_msghdr h; in4 dst, gw, mask; dl ifp; label lb; } labelled;
VECTOR(add_labelled, labelled, { HEADER(labelled, RTM_ADD) .rtm_index = 3, .rtm_seq = 13,
	.rtm_tableid = 5, .rtm_priority = 12,
	.rtm_flags = RTF_UP | RTF_GATEWAY | RTF_STATIC | OURS,
	.rtm_addrs = RTA_DST | RTA_GATEWAY | RTA_NETMASK | RTA_IFP | RTA_LABEL },
	IN4(10, 0, 0, 0), IN4(192, 0, 2, 1), IN4(255, 0, 0, 0), DL(3),
	{ .a = { .sr_len = sizeof(struct sockaddr_rtlabel), .sr_label = "pptpctl" } } });
#endif

/* Messages of a kernel. The mask of a default route has length 0. */
typedef struct { struct rt_msghdr h; in4 dst, gw; char mask[8]; dl ifp; in4 ifa; } got4;
VECTOR(got_default, got4, { HEADER(got4, RTM_GET) .rtm_index = 1, .rtm_pid = 4242, .rtm_seq = 12,
#ifdef __OpenBSD__
	.rtm_priority = RTP_STATIC,
#endif
	.rtm_flags = RTF_UP | RTF_GATEWAY | RTF_STATIC | RTF_DONE,
	.rtm_addrs = RTA_DST | RTA_GATEWAY | RTA_NETMASK | RTA_IFP | RTA_IFA,
	.rtm_rmx = { .rmx_mtu = 1500 } },
	IN4(0, 0, 0, 0), IN4(192, 0, 2, 1), { 0 }, DL_NAMED(1, "em0"), IN4(192, 0, 2, 10) });

/* A mask of seven bytes, as the radix tree stores it, and an interface without a name. */
typedef struct { struct rt_msghdr h; in4 dst; dl gw; unsigned char mask[8]; } cut4;
VECTOR(news_connected, cut4, { HEADER(cut4, RTM_ADD) .rtm_index = 2,
	.rtm_flags = RTF_UP | RTF_DONE, .rtm_addrs = RTA_DST | RTA_GATEWAY | RTA_NETMASK },
	IN4(172, 16, 32, 0), DL(2), { 7, 0, 0, 0, 255, 255, 224 } });

typedef struct { struct if_msghdr h; } ifinfo;
VECTOR(news_interface, ifinfo, { { .ifm_msglen = sizeof(ifinfo), .ifm_version = RTM_VERSION,
	.ifm_type = RTM_IFINFO, HDRLEN(ifm_hdrlen, if_msghdr) .ifm_index = 4, .ifm_flags = IFF_UP | IFF_POINTOPOINT,
	.ifm_data = { .ifi_mtu = 1420, .ifi_link_state = LINK_STATE_UP } } });
VECTOR(news_interface_down, ifinfo, { { .ifm_msglen = sizeof(ifinfo), .ifm_version = RTM_VERSION,
	.ifm_type = RTM_IFINFO, HDRLEN(ifm_hdrlen, if_msghdr) .ifm_index = 1, .ifm_flags = IFF_BROADCAST,
	.ifm_data = { .ifi_mtu = 1500, .ifi_link_state = LINK_STATE_DOWN } } });

/* FreeBSD's header has 20 bytes: the addresses after it are not aligned. */
typedef struct __attribute__((packed)) { struct ifa_msghdr h; in4 mask; dl ifp; in4 ifa, brd; } ifa4;
VECTOR(news_address, ifa4, { { .ifam_msglen = sizeof(ifa4), .ifam_version = RTM_VERSION,
	.ifam_type = RTM_NEWADDR, HDRLEN(ifam_hdrlen, ifa_msghdr) .ifam_index = 4,
	.ifam_addrs = RTA_NETMASK | RTA_IFP | RTA_IFA | RTA_BRD },
	IN4(255, 255, 255, 255), DL_NAMED(4, "tun7"), IN4(10, 1, 2, 3), IN4(10, 1, 2, 1) });

typedef struct __attribute__((packed)) { struct ifa_msghdr h; in6 mask; in6 ifa; } ifa6;
VECTOR(news_address6_gone, ifa6, { { .ifam_msglen = sizeof(ifa6), .ifam_version = RTM_VERSION,
	.ifam_type = RTM_DELADDR, HDRLEN(ifam_hdrlen, ifa_msghdr) .ifam_index = 4,
	.ifam_addrs = RTA_NETMASK | RTA_IFA },
	IN6(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	IN6(0xfe, 0x80, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) });

typedef struct { struct if_announcemsghdr h; } announce;
VECTOR(news_arrival, announce, { { .ifan_msglen = sizeof(announce), .ifan_version = RTM_VERSION,
	.ifan_type = RTM_IFANNOUNCE, HDRLEN(ifan_hdrlen, if_announcemsghdr) .ifan_index = 9,
	.ifan_name = "tun7", .ifan_what = IFAN_ARRIVAL } });
VECTOR(news_departure, announce, { { .ifan_msglen = sizeof(announce), .ifan_version = RTM_VERSION,
	.ifan_type = RTM_IFANNOUNCE, HDRLEN(ifan_hdrlen, if_announcemsghdr) .ifan_index = 9,
	.ifan_name = "tun7", .ifan_what = IFAN_DEPARTURE } });

#ifdef __OpenBSD__
VECTOR(news_desync, struct rt_msghdr, { .rtm_msglen = sizeof(struct rt_msghdr), .rtm_version = RTM_VERSION,
	.rtm_type = RTM_DESYNC, .rtm_hdrlen = sizeof(struct rt_msghdr) });
#endif
