// Package netpoll is the network edge of a Godwit server: it turns sockets
// into frames and frames into bytes on gnet's event loops, decides who may
// connect, and keeps what is waiting to be sent to each connection bounded. It
// knows frames and limits, not what a frame means.
//
//	accept ─► admission ─► OnOpen ─► bytes ─► OnFrame … ─► OnClose
//	                                              │ Reply, Push, Close (any goroutine)
//	                                              ▼
//	            connection's queue ─► ready list of its loop ─► one write per turn
//
// # Goroutines
//
// A connection belongs to one event loop for its whole life. Every method of
// Handler is called on that loop's goroutine, so what a handler keeps in a
// connection's state needs no lock, and a handler that blocks stops every
// connection of its loop. Other goroutines have Reply, Push, Close and
// Outbound.
//
// # Invariants that are not obvious
//
//   - The loops listen by themselves (SO_REUSEPORT) and accept one connection
//     at a time, so a connection is admitted or refused before the next one is
//     accepted. With a separate acceptor, descriptors of connections that
//     nobody has judged yet pile up, and running out of them ends gnet.
//   - Everything that arrived is parsed in one pass, and everything that was
//     answered meanwhile leaves in one write after it.
//   - A loop is woken by a doorbell that rings once until it is served. gnet's
//     own queue of tasks isn't used for anything that needs an order.
//   - gnet's inbound buffer stays empty: each read is consumed whole, and the
//     start of an incomplete frame is kept in a buffer that grows with what has
//     arrived and not with what was announced.
//   - gnet's outbound buffer is unbounded, so it gets at most handOver bytes, or
//     one frame. The rest waits in the connection's queue, which is counted.
//   - A connection is closed only in its own event or between two rounds of
//     events, never from another connection's event: a descriptor can't be
//     reused while an event for its old owner is still to be handled.
//   - No doorbell rings once gnet has begun to end: its wake-up descriptor may
//     have been closed by then and its number may belong to another file.
//
// docs/adr/0002-outbound-budget.md gives the reasons and the figures.
package netpoll
