/* wsfloor - how little a WebSocket echo server can cost on epoll: a yardstick, NOT a conforming server.
 *
 * Same system calls as rawecho (one recv, one send per readiness event), plus the unavoidable protocol work: parse the
 * frame header, unmask while moving the payload 4 bytes down (same buffer), write the reply header in front of it.
 * All complete frames of one read leave in one send.  A frame larger than what was read is collected in a per-
 * connection buffer that recv() fills directly.  No UTF-8 check, no fragmentation, no control frames, fixed accept key.
 * "/sub" subscribes, a message on "/pub" goes to all subscribers (frame built once, one send each, batched per loop turn).
 *
 *   cc -O3 -march=native -o wsfloor wsfloor.c ;  wsfloor PORT [RECV_BUFFER_BYTES=524288]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
typedef unsigned char u8;
struct conn { int fd; u8 open, kind; uint32_t phase; u8 mask[4];
              u8 *big; size_t need, have;                 /* a partial frame: need bytes in total, have so far (headers kept) */
              size_t big_hdr;                             /* masked header length of that frame; payload is unmasked on arrival */
              u8 *pend; size_t plen, poff; };
static int ep; static struct conn **subs; static long nsubs; static u8 *bc; static size_t bc_len, bc_cap;

/* dst <= src - 4 or dst == src; forward, load before store, so overlap is fine */
static inline void unmask_move(u8 *dst, const u8 *src, size_t n, uint32_t key) {
    typedef uint64_t v8 __attribute__((vector_size(64), aligned(1), may_alias));
    uint64_t k = (uint64_t)key << 32 | key; v8 kv = {k, k, k, k, k, k, k, k}; size_t i = 0;
    for (; i + 64 <= n; i += 64) { v8 x = *(const v8 *)(src + i); x ^= kv; *(v8 *)(dst + i) = x; }
    for (; i + 8 <= n; i += 8) { uint64_t x; memcpy(&x, src + i, 8); x ^= k; memcpy(dst + i, &x, 8); }
    for (; i < n; i++) dst[i] = src[i] ^ ((u8 *)&key)[i & 3];
}
static void ev_set(struct conn *c, uint32_t e) { struct epoll_event x = {.events = e, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &x); }
static void drop(struct conn *c) {
    if (c->kind == 1) for (long i = 0; i < nsubs; i++) if (subs[i] == c) { subs[i] = subs[--nsubs]; break; }
    close(c->fd); free(c->big); free(c->pend); free(c);
}
static int out(struct conn *c, const u8 *p, size_t n) {
    if (!n) return 0;
    ssize_t w = c->plen ? 0 : send(c->fd, p, n, MSG_NOSIGNAL);
    if (w < 0) { if (errno != EAGAIN) return -1; w = 0; }
    if ((size_t)w < n) {
        u8 *q = malloc(c->plen + n - w); memcpy(q, c->pend + c->poff, c->plen); memcpy(q + c->plen, p + w, n - w);
        free(c->pend); c->pend = q; c->poff = 0; if (!c->plen) ev_set(c, EPOLLOUT); c->plen += n - w;
    }
    return 0;
}
static size_t reply_hdr(u8 *h, u8 op, size_t l) {         /* written so that it ends at h + its length */
    h[0] = 0x80 | op;
    if (l < 126) { h[1] = l; return 2; }
    if (l < 65536) { h[1] = 126; h[2] = l >> 8; h[3] = l; return 4; }
    h[1] = 127; for (int i = 0; i < 8; i++) h[2 + i] = (uint64_t)l >> (56 - 8 * i); return 10;
}
/* Echo every whole frame in [p, p+n). The replies are compacted at the front of the same memory. */
static int frames(struct conn *c, u8 *p, size_t n) {
    u8 *w = p, *r = p, *end = p + n;
    while (end - r >= 6) {
        size_t l = r[1] & 127, h = 6; u8 op = r[0] & 15;
        if (l == 126) { if (end - r < 8) break; l = r[2] << 8 | r[3]; h = 8; }
        else if (l == 127) { if (end - r < 14) break; l = 0; for (int i = 2; i < 10; i++) l = l << 8 | r[i]; h = 14; }
        if ((size_t)(end - r) < h + l) break;
        uint32_t key; memcpy(&key, r + h - 4, 4);
        if (op == 8) { drop(c); return -1; }
        u8 hd[10]; size_t hl = reply_hdr(hd, op, l);
        if (c->kind == 2) {
            if (bc_len + hl + l > bc_cap) bc = realloc(bc, bc_cap = 2 * (bc_len + hl + l));
            memcpy(bc + bc_len, hd, hl); unmask_move(bc + bc_len + hl, r + h, l, key); bc_len += hl + l;
        } else { unmask_move(w + hl, r + h, l, key); memcpy(w, hd, hl); w += hl + l; }
        r += h + l;
    }
    if (out(c, p, w - p)) { drop(c); return -1; }
    if (r < end) {                                        /* keep the partial frame */
        size_t left = end - r, h = 0, l = 0;
        if (left >= 2) { l = r[1] & 127; h = 6; if (l == 126) { h = 8; l = left >= 4 ? (size_t)(r[2] << 8 | r[3]) : 0; }
                         else if (l == 127) { h = 14; l = 0; if (left >= 10) for (int i = 2; i < 10; i++) l = l << 8 | r[i]; } }
        if (!h || left < h) { c->need = 0; h = 0; }
        else c->need = h + l;
        c->big = malloc(c->need ? c->need + 64 : 64); memcpy(c->big, r, left); c->have = left; c->big_hdr = h;
        if (h) { memcpy(c->mask, r + h - 4, 4); uint32_t key; memcpy(&key, c->mask, 4);
                 unmask_move(c->big + h, c->big + h, left - h, key); }
    }
    return 0;
}
int main(int argc, char **argv) {
    mallopt(M_MMAP_THRESHOLD, 1 << 30); mallopt(M_TRIM_THRESHOLD, 1 << 30);   /* big frame buffers must be recycled: fresh mmaps fault in every page */
    int port = argc > 1 ? atoi(argv[1]) : 9000; size_t bufsz = argc > 2 ? strtoul(argv[2], 0, 0) : 512 * 1024;
    struct rlimit rl; getrlimit(RLIMIT_NOFILE, &rl); rl.rlim_cur = rl.rlim_max; setrlimit(RLIMIT_NOFILE, &rl);
    u8 *buf = malloc(bufsz + 128); subs = malloc(rl.rlim_cur * sizeof *subs);
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1; setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind/listen"); return 1; }
    ep = epoll_create1(0); struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, ev[1024]; epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    static const char resp[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for (;;) {
        int n = epoll_wait(ep, ev, 1024, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = ev[i].data.ptr;
            if (!c) { int fd; while ((fd = accept4(ls, 0, 0, SOCK_NONBLOCK)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); c = calloc(1, sizeof *c); c->fd = fd;
                struct epoll_event ne = {.events = EPOLLIN, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ne); } continue; }
            if (c->plen) {
                ssize_t w = send(c->fd, c->pend + c->poff, c->plen, MSG_NOSIGNAL);
                if (w < 0 && errno != EAGAIN) { drop(c); continue; }
                if (w > 0) { c->poff += w; c->plen -= w; } if (c->plen) continue;
                free(c->pend); c->pend = NULL; ev_set(c, EPOLLIN); continue;
            }
            if (c->need) {                                /* collecting a big frame: recv straight into it */
                ssize_t r = recv(c->fd, c->big + c->have, c->need - c->have, 0);
                if (r == 0 || (r < 0 && errno != EAGAIN)) { drop(c); continue; } if (r < 0) continue;
                size_t ph = (c->have - c->big_hdr) & 3; u8 m[4]; for (int k = 0; k < 4; k++) m[k] = c->mask[(ph + k) & 3];
                uint32_t key; memcpy(&key, m, 4); unmask_move(c->big + c->have, c->big + c->have, r, key); c->have += r;
                if (c->have < c->need) continue;
                u8 *b = c->big, hd[10]; size_t l = c->need - c->big_hdr, hl = reply_hdr(hd, b[0] & 15, l); c->big = NULL; c->need = c->have = 0;
                memcpy(b + c->big_hdr - hl, hd, hl);
                if (c->kind != 2) { if (out(c, b + c->big_hdr - hl, hl + l)) drop(c); }
                free(b); continue;
            }
            u8 *p = buf + 64; size_t have = 0;
            if (c->have) { p -= c->have; memcpy(p, c->big, c->have); have = c->have; free(c->big); c->big = NULL; c->have = 0; }
            ssize_t r = recv(c->fd, buf + 64, bufsz, 0);
            if (r == 0 || (r < 0 && errno != EAGAIN)) { drop(c); continue; } if (r < 0) continue;
            if (!c->open) { p[have + r] = 0; c->open = 1; c->kind = !memcmp(p, "GET /sub", 8) ? 1 : !memcmp(p, "GET /pub", 8) ? 2 : 0;
                            if (c->kind == 1) { subs[nsubs++] = c; }
                            out(c, (const u8 *)resp, sizeof resp - 1); continue; }
            frames(c, p, have + r);
        }
        if (bc_len) { for (long i = nsubs; i-- > 0;) { struct conn *s = subs[i]; if (out(s, bc, bc_len)) drop(s); } bc_len = 0; }
    }
}
