/* What a packet thread is told of by epoll(7): each begins with this. */
#ifndef FLATPROXY_WATCH_H
#define FLATPROXY_WATCH_H

enum watched { WATCH_WAKE, WATCH_DATAGRAMS, WATCH_SERVER, WATCH_DOOR, WATCH_CLIENT, WATCH_LINK };

struct watch {
    enum watched kind;
    int fd; /* -1 once closed */
};

#endif
