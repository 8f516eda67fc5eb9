/* Written by tests/rtsock/headers.rs out of the layouts; compiled by contrib/cross headers. */
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <sys/sockio.h>
#include <net/if.h>
#include <net/if_dl.h>
#include <net/if_tun.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/in_var.h>
#include <netinet6/in6_var.h>
#include <stddef.h>
#define AT(s, f, a, w) \
	_Static_assert(offsetof(struct s, f) == a && sizeof(((struct s *)0)->f) == w, #s "." #f)
#define IS(what, value) _Static_assert((what) == (value), #what)

AT(rt_msghdr, rtm_msglen, 0, 2);
AT(rt_msghdr, rtm_version, 2, 1);
AT(rt_msghdr, rtm_type, 3, 1);
AT(rt_msghdr, rtm_hdrlen, 4, 2);
AT(rt_msghdr, rtm_tableid, 8, 2);
AT(rt_msghdr, rtm_priority, 10, 1);
AT(rt_msghdr, rtm_fmask, 20, 4);
AT(rt_msghdr, rtm_index, 6, 2);
AT(rt_msghdr, rtm_flags, 16, 4);
AT(rt_msghdr, rtm_addrs, 12, 4);
AT(rt_msghdr, rtm_pid, 24, 4);
AT(rt_msghdr, rtm_seq, 28, 4);
AT(rt_msghdr, rtm_errno, 32, 4);
AT(rt_msghdr, rtm_inits, 36, 4);
AT(rt_msghdr, rtm_rmx.rmx_mtu, 60, 4);
AT(rt_msghdr, rtm_rmx.rmx_expire, 48, 8);
AT(if_msghdr, ifm_index, 6, 2);
AT(if_msghdr, ifm_flags, 16, 4);
AT(if_msghdr, ifm_data.ifi_mtu, 28, 4);
AT(if_msghdr, ifm_data.ifi_link_state, 27, 1);
AT(ifa_msghdr, ifam_index, 6, 2);
AT(ifa_msghdr, ifam_addrs, 12, 4);
AT(if_announcemsghdr, ifan_index, 6, 2);
AT(if_announcemsghdr, ifan_name, 10, 16);
AT(if_announcemsghdr, ifan_what, 8, 2);
AT(ifa_msghdr, ifam_hdrlen, 4, 2);
IS(sizeof(struct rt_msghdr), 0x60);
IS(sizeof(struct if_msghdr), 0xa8);
IS(sizeof(struct ifa_msghdr), 0x18);
IS(sizeof(struct if_announcemsghdr), 0x1a);
IS(sizeof(struct sockaddr_dl), 0x20);
IS(sizeof(long), 0x8);
IS(RTM_VERSION, 0x5);
IS(AF_INET6, 0x18);
IS(RTM_NEWADDR, 0xc);
IS(RTM_DELADDR, 0xd);
IS(RTM_IFINFO, 0xe);
IS(RTM_IFANNOUNCE, 0xf);
IS(RTM_DESYNC, 0x10);
IS(RTP_STATIC, 0x8);
IS(RTM_ADD, 0x1);
IS(RTM_DELETE, 0x2);
IS(RTM_CHANGE, 0x3);
IS(RTM_GET, 0x4);
IS(AF_INET, 0x2);
IS(AF_LINK, 0x12);
IS(RTV_MTU, 0x1);
IS(IFF_UP, 0x1);
IS(IFAN_ARRIVAL, 0x0);
IS(RTAX_MAX, 0xf);
IS(LINK_STATE_UP, 0x4);
IS(LINK_STATE_UNKNOWN, 0x0);
IS(RTF_UP, 0x1);
IS(RTF_GATEWAY, 0x2);
IS(RTF_HOST, 0x4);
IS(RTF_REJECT, 0x8);
IS(RTF_DYNAMIC, 0x10);
IS(RTF_STATIC, 0x800);
IS(RTF_BLACKHOLE, 0x1000);
IS(RTF_PROTO2, 0x4000);
IS(RTF_PROTO1, 0x8000);
IS(RTF_LOCAL, 0x200000);
IS(RTF_BROADCAST, 0x400000);
IS(RTF_PROTO1 | RTF_PROTO3, 0xa000);
IS(RTF_CONNECTED | RTF_MPLS | RTF_BFD, 0x1900000);
IS(RTF_LLINFO | RTF_CLONED | RTF_CACHED, 0x30400);
IS(RTA_DST, 0x1);
IS(RTA_GATEWAY, 0x2);
IS(RTA_NETMASK, 0x4);
IS(RTA_IFP, 0x10);
IS(RTA_IFA, 0x20);
IS(RTA_BRD, 0x80);
IS(RTA_LABEL, 0x400);
IS(sizeof(struct sockaddr_rtlabel), 0x22);
IS(AF_INET6, 0x18);
IS(sizeof(struct ifreq), 0x20);
IS(sizeof(struct ifaliasreq), 0x40);
IS(sizeof(struct in6_aliasreq), 0x80);
IS(SIOCGIFFLAGS, 0xc0206911);
IS(SIOCSIFFLAGS, 0x80206910);
IS(SIOCGIFMTU, 0xc020697e);
IS(SIOCSIFMTU, 0x8020697f);
IS(SIOCGIFRDOMAIN, 0xc02069a0);
IS(SIOCSIFRDOMAIN, 0x8020699f);
IS(SIOCAIFADDR, 0x8040691a);
IS(SIOCDIFADDR, 0x80206919);
IS(SIOCAIFADDR_IN6, 0x8080691a);
IS(SIOCDIFADDR_IN6, 0x81206919);
IS(TUNSIFMODE, 0x8004745d);
IS(FIONBIO, 0x8004667e);
IS(sizeof(struct in6_ifreq), 0x120);
IS(offsetof(struct ifreq, ifr_flags), 0x10);
IS(offsetof(struct ifreq, ifr_mtu), 0x10);
IS(offsetof(struct ifaliasreq, ifra_addr), 0x10);
IS(offsetof(struct ifaliasreq, ifra_mask), 0x30);
IS(offsetof(struct in6_aliasreq, ifra_addr), 0x10);
IS(offsetof(struct in6_aliasreq, ifra_prefixmask), 0x48);
IS(offsetof(struct in6_aliasreq, ifra_flags), 0x64);
IS(offsetof(struct in6_aliasreq, ifra_lifetime.ia6t_vltime), 0x78);
IS(offsetof(struct in6_aliasreq, ifra_lifetime.ia6t_pltime), 0x7c);
IS(IFF_LOOPBACK, 0x8);
IS(IFF_POINTOPOINT, 0x10);
IS(IFF_MULTICAST, 0x8000);
