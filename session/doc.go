// Package session knows who is on a connection: an authenticated device of a
// user, from its CONNECT to the end of its connection.
//
//	accepted ── Handshake ──CONNECT──► Session ──► closed
//	   no CONNECT in time: CONNECT_TIMEOUT   REPLACED, HEARTBEAT_TIMEOUT,
//	   a bad token: TOKEN_*                  TOKEN_EXPIRED, the peer left
//
// The caller (package server) joins it with a transport:
//
//  1. On accept: h := m.Accept(t), then m.Watch(loop, h).
//  2. On CONNECT: s, err := m.Connect(t, request, req). An error ends the
//     connection. Otherwise m.Unwatch(loop, h), m.Watch(loop, s). CONNECTED
//     has been queued by then, and pushes may follow it at once.
//  3. On every frame: s.Touch(m.Nanos(now)). A request is admitted by
//     s.Begin and let go by s.End.
//  4. When the transport has room again after a refused Push: s.Drained().
//  5. On every tick of a loop: m.Tick(loop, now).
//  6. When the connection has closed: m.Unwatch(loop, s), m.Close(s).
//
// Goroutines: what takes a loop number, Session.Touch, Session.Deadline,
// Session.Expire and Manager.Renew belong to the goroutine of the
// connection's event loop. Everything else may be called from anywhere. The
// package starts none of its own.
//
// Locks: a session's lock may be held while a registry shard's is taken, never
// the other way round. It is also held over calls of the session's Transport,
// so a Transport must not call back into the session from within Reply or
// Push, nor call Drained while it holds a lock that those need. Close is called
// with no lock held.
package session
