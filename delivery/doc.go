// Package delivery is the way out of the server: the answers and the live news
// that follow a commit, and the reads, SYNC and PULL.
//
//	chat.Log ──outcomes──► Deliver ──answer──────────► the asking session
//	                          ├─────MESSAGE, RECEIPT──► all other sessions of both users
//	                          └──► audience of a group ─► its sessions, a large one's by and by
//	gateway ──Attach, Detach───► audiences
//	gateway ──SYNC, PULL, ...──► turns ──► workers ──answer──► the asking session
//
// Deliver runs on the log's writer and touches no disk. The reads do, so they
// run on a fixed number of workers, which take the sessions in turn, one
// request each: a session that asks for much delays itself. Do lets other packages
// read for clients there.
//
// News is an optimisation, the store is the record. What makes the two fit
// together is an order: a session is registered before its first SYNC reads the
// applied indexes that become its cursor. A change is then either at or below
// the cursor, and the SYNC has it, or it is committed after, and its push finds
// the session. TestSyncAndPushLoseNothing tries to break it. For a group the
// session has to be in its audience by then: the groups of its user are read by a
// job of their own, before the first SYNC. TestAudience tries to break that.
// docs/adr/0014-audiences.md has the reasons.
package delivery
