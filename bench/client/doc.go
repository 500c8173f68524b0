// Package client is Godwit's protocol on the connections of a fleet: what the
// load scenarios are made of. It costs the machine as little as it can, since
// it runs beside the server that it measures: no goroutine per connection, no
// timer per heartbeat, and neither protobuf reflection nor an allocation for a
// message that is sent, acked or received.
//
// A Pool holds the devices of one loop, connects them and keeps them alive. A
// Draft is a SEND that is sent over and over with another number. An Inbox is
// what a receiver has of its conversations: it checks that every message comes
// once, in order and with the body that was sent, and pulls what the server
// left out. What breaks the server's promises is a *Violation.
//
// All of it belongs to the loop's goroutine, like the fleet's connections.
package client

import "fmt"

// Violation is a promise that the server broke. A run that saw one has failed.
type Violation struct{ Text string }

// Error implements error.
func (v *Violation) Error() string { return v.Text }

func violation(format string, args ...any) error {
	return &Violation{fmt.Sprintf(format, args...)}
}
