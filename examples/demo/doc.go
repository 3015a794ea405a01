// Package demo plays Holdfast's story on loopback: a toy issuer, an upstream,
// a real Envoy with TLS and optional client certificates, and Holdfast itself
// as a child process with its feed embedded. Every step goes through Envoy
// and is checked there: by the status that the client gets and by the reason
// in Envoy's access log.
//
//	world.go     starts all of them on ports of the kernel's choice
//	holdfast.go  Holdfast as a child process: start, kill -9, logs
//	client.go    people with their tokens and certificates, and the access log
//	story.go     the steps; story_feed.go those that kill and damage things
//	holdfast.yaml  the configuration that it runs with
package demo
