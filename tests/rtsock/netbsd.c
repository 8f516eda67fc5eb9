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
AT(rt_msghdr, rtm_index, 4, 2);
AT(rt_msghdr, rtm_flags, 8, 4);
AT(rt_msghdr, rtm_addrs, 12, 4);
AT(rt_msghdr, rtm_pid, 16, 4);
AT(rt_msghdr, rtm_seq, 20, 4);
AT(rt_msghdr, rtm_errno, 24, 4);
AT(rt_msghdr, rtm_inits, 32, 4);
AT(rt_msghdr, rtm_rmx.rmx_mtu, 48, 8);
AT(rt_msghdr, rtm_rmx.rmx_expire, 104, 8);
AT(if_msghdr, ifm_index, 12, 2);
AT(if_msghdr, ifm_flags, 8, 4);
AT(if_msghdr, ifm_data.ifi_mtu, 24, 8);
AT(if_msghdr, ifm_data.ifi_link_state, 20, 4);
AT(ifa_msghdr, ifam_index, 4, 2);
AT(ifa_msghdr, ifam_addrs, 12, 4);
AT(if_announcemsghdr, ifan_index, 4, 2);
AT(if_announcemsghdr, ifan_name, 6, 16);
AT(if_announcemsghdr, ifan_what, 22, 2);
IS(sizeof(struct rt_msghdr), 0x78);
IS(sizeof(struct if_msghdr), 0x98);
IS(sizeof(struct ifa_msghdr), 0x20);
IS(sizeof(struct if_announcemsghdr), 0x18);
IS(sizeof(struct sockaddr_dl), 0x20);
IS(sizeof(long), 0x8);
IS(RTM_VERSION, 0x4);
IS(AF_INET6, 0x18);
IS(RTM_NEWADDR, 0x16);
IS(RTM_DELADDR, 0x17);
IS(RTM_IFINFO, 0x14);
IS(RTM_IFANNOUNCE, 0x10);
IS(RTM_ADD, 0x1);
IS(RTM_DELETE, 0x2);
IS(RTM_CHANGE, 0x3);
IS(RTM_GET, 0x4);
IS(AF_INET, 0x2);
IS(AF_LINK, 0x12);
IS(RTV_MTU, 0x1);
IS(IFF_UP, 0x1);
IS(IFAN_ARRIVAL, 0x0);
IS(RTAX_MAX, 0x9);
IS(LINK_STATE_UP, 0x2);
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
IS(RTF_LOCAL, 0x40000);
IS(RTF_BROADCAST, 0x80000);
IS(RTF_PROTO1 | RTF_PROTO2, 0xc000);
IS(RTF_CONNECTED, 0x100);
IS(RTF_LLDATA, 0x400);
IS(RTA_DST, 0x1);
IS(RTA_GATEWAY, 0x2);
IS(RTA_NETMASK, 0x4);
IS(RTA_IFP, 0x10);
IS(RTA_IFA, 0x20);
IS(RTA_BRD, 0x80);
IS(AF_INET6, 0x18);
IS(sizeof(struct ifreq), 0x90);
IS(sizeof(struct ifaliasreq), 0x40);
IS(sizeof(struct in6_aliasreq), 0x80);
IS(SIOCGIFFLAGS, 0xc0906911);
IS(SIOCSIFFLAGS, 0x80906910);
IS(SIOCGIFMTU, 0xc090697e);
IS(SIOCSIFMTU, 0x8090697f);
IS(SIOCIFDESTROY, 0x80906979);
IS(SIOCAIFADDR, 0x8040691a);
IS(SIOCDIFADDR, 0x80906919);
IS(SIOCAIFADDR_IN6, 0x8080696b);
IS(SIOCDIFADDR_IN6, 0x81206919);
IS(TUNSIFMODE, 0x80047458);
IS(FIONBIO, 0x8004667e);
IS(TUNSIFHEAD, 0x80047442);
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
