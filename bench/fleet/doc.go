// Package fleet holds many client connections on a few goroutines: what the
// load scenarios are made of, whatever protocol they speak. A goroutine a
// connection would cost the load as much as the server that it measures, on
// the same processors.
//
// A Fleet has loops. Each is one goroutine with its epoll instance, its
// connections and its timers, and calls a connection's Handler for what
// happens to it. A loop reads what has come, hands it over, and writes what
// the handlers have written once the turn is over: one read and one write for
// all the frames of a connection that are there.
//
// Methods of Loop, Conn and Timer belong to the loop's goroutine, which is
// where handlers, timers and posted functions run; Post alone may be called
// from elsewhere.
//
// It uses epoll, and so runs on Linux only: elsewhere New returns an error
// that wraps errors.ErrUnsupported.
package fleet
