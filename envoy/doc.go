// Package envoy is what Envoy reads: it finds or installs the Envoy binary
// (Find), renders the hardened edge configuration (Render), and runs an Envoy
// on loopback for the demo and the end-to-end tests (Start).
//
// The configuration has one source, edge.yaml.tmpl. The shipped envoy.yaml is
// that template filled in with the values of Example, and a test holds the two
// together, so what is tested against the real Envoy is what users copy.
//
// Nothing here talks to a Holdfast; nothing in Holdfast's serving path imports
// this package.
package envoy
