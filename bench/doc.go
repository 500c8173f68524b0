// Package bench puts a running server under load, checks what it does and
// measures it. Each scenario is a function that takes its Config and returns a
// *report.Report: what broke the server's promises is in its Violations, and
// an error is for a run that could not be carried out.
//
// Direct has pairs of users chat, and Beside does so in turn with what this
// machine does at best; Connect holds idle sessions. Sync has users return who
// missed messages, and Start starts servers on a full store. Storm has all
// connections be lost at once, Slow has readers stall, Mixed is an ordinary
// day: their users come back like good clients, with what they keep.
//
// For Beside, and for Connect with many sessions, the main function must call
// ceiling.Child first.
//
// The load runs on the few event loops of a fleet, in this process or, for
// Direct and Connect where one may not open enough files, in several that this
// one starts and asks for what they saw. On one machine load and server share
// the processors, which the figures include; what each took is among them.
package bench
