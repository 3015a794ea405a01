// Command holdfast is session security for the service mesh: an Envoy external
// authorization server that checks, at every request, that the connection, the
// device and the token are still the ones that were let in.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// version is set by the linker: see the Makefile.
var version = "dev"

// Exit codes (contract §1). Every other error ends with 1.
const (
	exitUsage       = 2
	exitInvalid     = 3 // the configuration is not valid
	exitNotEnforced = 6 // stored, but not applied by every replica in time
)

// exitError carries the exit code of an error to main. A nil err has been
// said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, newRootCommand()))
}

func run(ctx context.Context, root *cobra.Command) int {
	err := root.ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(root.ErrOrStderr(), "holdfast: "+exit.err.Error())
		}
		return exit.code
	}
	fmt.Fprintln(root.ErrOrStderr(), "holdfast: "+err.Error())
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "session security for the service mesh: an Envoy ext_authz server",
		Long: `Login security proves who came in; session security proves that the connection,
the device and the token are still the ones that were let in. Holdfast checks
every request that Envoy or Istio asks it about: binding, freshness, revocation.`,
		Example: `  holdfast demo                            # see it work on this machine, on a real Envoy
  holdfast config init > holdfast.yaml     # an annotated configuration to start from
  holdfast config validate holdfast.yaml
  holdfast serve -c holdfast.yaml
  holdfast revoke session 0a1b2c --issuer https://idp.example --wait 2s`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{exitUsage, fmt.Errorf("%w\nsee: %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(
		newServeCommand(), newConfigCommand(),
		newRevokeCommand(), newUnrevokeCommand(), newRevocationsCommand(),
		newStatusCommand(), newFeedCommand(), newKeysCommand(),
		newTokenCommand(), newDPoPCommand(),
		newDemoCommand(), newVersionCommand(), newManCommand(root),
	)
	usageErrors(root)
	return root
}

// usageErrors gives wrong arguments the exit code of wrong usage, in every
// verb. A verb that only groups others shows its help, and refuses a word that
// is none of them.
func usageErrors(cmd *cobra.Command) {
	if !cmd.Runnable() {
		cmd.Args, cmd.RunE = cobra.NoArgs, func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &exitError{exitUsage, fmt.Errorf("%w\nusage: %s", err, c.UseLine())}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		usageErrors(sub)
	}
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "holdfast", version) },
	}
}

func newManCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "man DIRECTORY", Short: "write the manual pages into a directory", Args: cobra.ExactArgs(1),
		Example: "  holdfast man /usr/local/share/man/man1",
		RunE: func(_ *cobra.Command, args []string) error {
			return doc.GenManTree(root, &doc.GenManHeader{Title: "HOLDFAST", Section: "1"}, args[0])
		},
	}
}
