// Package desk is customer service on top of a Godwit server: visitors without an
// account write to a desk, and the desk finds them an agent.
//
//	visitor ──POST /visit──► desk ──groups, presence──► server ◄──── agents
//	   └──────────────── messages ──────────────────────┘
//
// A desk is a client like any other, with a user of its own. It makes a group for
// each visit, owns it, and has two members in it: the visitor and the agent who
// serves them. It never hands on a message; it only decides who is in the group.
//
// # State
//
// All that a desk knows of a visit is in the attributes of the visit's group, which
// say what shall be; the members are then made to follow. So a desk has no database:
// one that starts again reads the list of its conversations, reads what was written
// in those that are open past the attribute AttrAt, which names the last message it
// has acted upon, and makes the members follow. What a desk did by half when it was
// ended is done to the end by that.
//
// # Who may what
//
// Agents are users whom Config names. The one who serves a visit writes a Command
// into it to hand it over or to close it, and the visitor to rate or to close it.
// Anything else in a Command is ignored if the visitor wrote it, and the agent is
// told what is wrong with it.
//
// # Concurrency
//
// One goroutine owns everything but the count of visits, and does one thing after
// the other. What arrives from the server waits in the SDK, which bounds it.
package desk
