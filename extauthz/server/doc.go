// Package server carries checks over gRPC: it takes the bytes of a
// CheckRequest from Envoy, hands them to a Handler and sends back the bytes of
// the CheckResponse. Decider is the Handler of the product.
//
//	decider := server.NewDecider(checker, observe)
//	s, err := server.New(server.Config{Check: decider.Check, Overloaded: decider.Overloaded, OnPanic: …})
//	l, err := server.Listen("unix:///run/holdfast/check.sock")
//	go s.Serve(l)
//	s.SetServing(true) // ready: the health service says SERVING from here on
//	s.Drain(20 * time.Second)
//
// # Every check is answered
//
// To Envoy a gRPC error is no denial but an accident, and with
// failure_mode_allow accidents are let through (envoy.md §4). So whatever
// happens once a message has arrived ends in an OK RPC with an answer in it: a
// panic, the limit of checks in flight, bytes that are no CheckRequest (the
// Handler refuses them, a message over wire.MaxMessage too). These are the
// gRPC errors that are left; each is an error to Envoy, never an allow that
// Holdfast has given:
//
//	RESOURCE_EXHAUSTED  a message over maxFrame (1 MiB), which is not read at all
//	UNIMPLEMENTED       another service or method, a compressed message
//	INTERNAL            no message, two messages, a broken frame
//	UNAVAILABLE         no connection: the process is gone, or the drain's time was up
//	CANCELLED, DEADLINE_EXCEEDED  the proxy has stopped waiting
//
// # Memory
//
// A Handler is given the message and a buffer to write after. Both are used
// again: the message when the Handler has returned, the buffer when gRPC has
// written it to the connection. It keeps neither.
package server
