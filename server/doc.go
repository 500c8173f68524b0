// Package server joins the parts into a running Godwit node and is the only
// place that knows all of them: netpoll moves frames, session knows who is on
// a connection, chat decides and stores, delivery tells the sessions.
//
// A frame's way: netpoll calls gateway.OnFrame on the connection's event loop;
// the handler for its type (handlers.go) checks it and either answers at once
// or hands it on, SEND and MARK to the command log, SYNC and PULL to
// delivery's readers, WHO, SUBSCRIBE and SIGNAL to presence on the same workers. Nothing on this way blocks, and no Pebble call is made
// on an event loop.
//
// Config holds one struct per package; New checks and assembles, Start opens
// the listeners, Shutdown drains. cmd/godwit maps flags, environment and file
// onto Config.
package server
