package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript plays the stories in testdata/script with the real program.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}
