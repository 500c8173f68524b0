// Package sessions measures what one process would hold past the number of
// sockets that it may open: real session objects, made by the real manager from
// real tokens, with their timers and registry entries, on transports without a
// socket.
//
// What a connection adds (package netpoll, gnet, the kernel) is not in it;
// bench's connect scenario measures that on real sockets.
package sessions
