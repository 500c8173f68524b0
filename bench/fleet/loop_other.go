//go:build !linux

package fleet

import (
	"errors"
	"fmt"
	"time"
)

// Loop is one goroutine's share of a fleet.
type Loop struct{ timers timers }

// Conn is a connection of a fleet.
type Conn struct{ Handler Handler }

var errPlatform = fmt.Errorf("fleet: the load tool needs Linux's epoll: %w", errors.ErrUnsupported)

func newLoop(*Fleet) (*Loop, error) { return nil, errPlatform }
func (*Loop) run()                  {}
func (*Loop) stop()                 {}

// Nothing below is ever called: there is no Loop without newLoop.

func (*Loop) Now() time.Duration                   { return 0 }
func (*Loop) Open() int                            { return 0 }
func (*Loop) Post(func())                          {}
func (*Loop) Dial(Dialing, Handler) (*Conn, error) { return nil, errPlatform }
func (*Conn) Loop() *Loop                          { return nil }
func (*Conn) IsOpen() bool                         { return false }
func (*Conn) Write([]byte)                         {}
func (*Conn) Buffer() []byte                       { return nil }
func (*Conn) Wrote([]byte)                         {}
func (*Conn) Unwritten() int                       { return 0 }
func (*Conn) Pause()                               {}
func (*Conn) Resume()                              {}
func (*Conn) Close()                               {}
func (*Conn) Reset()                               {}
