package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// maxInput is more than any token or key has.
const maxInput = 1 << 20

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "make, look at and hash credentials, for development",
		Long: `Makes access tokens by a key of your own, shows what stands in a token without
verifying it, and makes entries for a file of API keys.`,
		Example: `  holdfast token mint --key issuer.pem --jwks jwks.json > token
  holdfast token inspect @token
  holdfast token hash --new --id reports --client reports >> keys.yaml`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newTokenMintCommand(), newTokenInspectCommand(), newTokenHashCommand())
	return cmd
}

// readValue reads what an argument names: @FILE, - for standard input, or the
// value itself.
func readValue(cmd *cobra.Command, arg string) (string, error) {
	from := cmd.InOrStdin()
	name, isFile := strings.CutPrefix(arg, "@")
	switch {
	case arg == "@":
		return "", &exitError{exitUsage, errors.New("@ names no file: write @FILE, or - for standard input")}
	case isFile:
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		from = f
	case arg != "-":
		return arg, nil
	default:
		name = "standard input"
	}
	text, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxInput {
		return "", fmt.Errorf("%s has more than %d bytes: it must hold one credential and nothing else", name, maxInput)
	}
	return string(text), nil
}

// readToken reads one token, and takes it out of the value of an Authorization
// header. scheme is "" where it stood alone.
func readToken(cmd *cobra.Command, arg string) (raw, scheme string, err error) {
	text, err := readValue(cmd, arg)
	if err != nil {
		return "", "", err
	}
	text = strings.TrimSpace(text)
	if first, rest, ok := strings.Cut(text, " "); ok && (strings.EqualFold(first, "Bearer") || strings.EqualFold(first, "DPoP")) {
		scheme, text = first, strings.TrimSpace(rest)
	}
	switch {
	case text == "":
		return "", "", &exitError{exitUsage, errors.New("there is no token: give one as TOKEN, @FILE or - for standard input")}
	case strings.ContainsAny(text, " \t\r\n"):
		return "", "", fmt.Errorf("there is white space inside: give one token, or the value of one Authorization header (Bearer TOKEN)")
	}
	return text, scheme, nil
}

// parseWhen reads a time: RFC 3339, or a duration from now on, which is
// negative for what is past.
func parseWhen(flag, text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--%s %q is neither a time such as 2026-01-02T15:04:05Z nor a duration from now such as -10m", flag, text)
	}
	return now.Add(d), nil
}
