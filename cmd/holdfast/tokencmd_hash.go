package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/holdfast-authz/holdfast/cache/apikeys"
)

const (
	newKeyBytes = 32 // 256 bits
	shortKey    = 22 // 128 bits in base64url; what has less can be guessed from its hash
)

// hashFlags are the flags of token hash.
type hashFlags struct {
	entry     keyEntry
	expiresIn time.Duration
	expires   string
	fresh     bool
}

// keyEntry is an entry of keys.yaml as it is written.
type keyEntry struct {
	ID      string   `yaml:"id"`
	SHA256  string   `yaml:"sha256"`
	Client  string   `yaml:"client,omitempty"`
	Scopes  []string `yaml:"scopes,omitempty,flow"`
	Tenant  string   `yaml:"tenant,omitempty"`
	Created string   `yaml:"created"`
	Expires string   `yaml:"expires,omitempty"`
	Owner   string   `yaml:"owner,omitempty"`
}

func newTokenHashCommand() *cobra.Command {
	var f hashFlags
	cmd := &cobra.Command{
		Use:   "hash [VALUE | @FILE | -]",
		Short: "make an entry for the file of API keys, which has only their hashes",
		Long: `Reads an API key and prints an entry for the file that api_keys names: its
SHA-256, never the key. Append it with >>: the file is a list, and a running
holdfast takes the change by itself.

With --new it makes a key of 256 bits itself. The entry goes to standard output,
and the key alone, on one line, to standard error: where the exit code is 0,
nothing else stands there. It is shown this once.

Without an argument it reads standard input, up to one line end. A key as VALUE ends
up in the shell's history and is seen by others on the machine: prefer the others.
Without --expires or --expires-in only a class's rules end the key.`,
		Example: `  (umask 077; holdfast token hash --new --id reports --client reports \
    --scope reports:read --expires-in 4320h >> keys.yaml 2> reports.key)
  curl -H "x-api-key: $(cat reports.key)" http://127.0.0.1:8080/

  holdfast token hash @old.key --id old --owner team-reports@example.com >> keys.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := f.key(cmd, args)
			if err != nil {
				return err
			}
			entry, err := f.write(key, time.Now())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			// The key first: an entry whose key nobody has seen is of no use.
			if f.fresh {
				if _, err := fmt.Fprintln(cmd.ErrOrStderr(), key); err != nil {
					return fmt.Errorf("show the new key: %w", err)
				}
			}
			_, err = cmd.OutOrStdout().Write(entry)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.fresh, "new", false, "make a new key")
	flags.StringVar(&f.entry.ID, "id", "", "name of the key, in revocations and records (default from its hash)")
	flags.StringVar(&f.entry.Client, "client", "", "client that it stands for")
	flags.StringArrayVar(&f.entry.Scopes, "scope", nil, "scope, one or more with spaces; may be repeated")
	flags.StringVar(&f.entry.Tenant, "tenant", "", "tenant")
	flags.StringVar(&f.entry.Owner, "owner", "", "who to ask about it")
	flags.DurationVar(&f.expiresIn, "expires-in", 0, "how long it holds, such as 4320h")
	flags.StringVar(&f.expires, "expires", "", "until when it holds, RFC 3339")
	return cmd
}

// key reads the key, or makes it.
func (f *hashFlags) key(cmd *cobra.Command, args []string) (string, error) {
	if f.fresh {
		if len(args) > 0 {
			return "", &exitError{exitUsage, errors.New("--new makes a key, and one is given: leave one of the two out")}
		}
		random := make([]byte, newKeyBytes)
		_, _ = rand.Read(random) // it never fails
		return base64.RawURLEncoding.EncodeToString(random), nil
	}
	arg := append(args, "-")[0]
	say := func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), "holdfast: "+text) }
	switch {
	case arg == "-" && cmd.InOrStdin() == os.Stdin && isTerminal(os.Stdin):
		say("type the key, then Enter and Ctrl-D; it is shown as you type: @FILE or a pipe keep it off the screen")
	case arg != "-" && !strings.HasPrefix(arg, "@"):
		say("this key is in your shell's history now, and was seen by others on this machine: give it as @FILE or on standard input")
	}
	key, err := readValue(cmd, arg)
	if err != nil {
		return "", err
	}
	key = strings.TrimSuffix(strings.TrimSuffix(key, "\n"), "\r")
	switch {
	case key == "":
		return "", &exitError{exitUsage, errors.New("there is no key: give one as @FILE or on standard input, or make one with --new")}
	case strings.TrimSpace(key) != key || strings.ContainsFunc(key, unicode.IsControl):
		return "", errors.New("the key begins or ends with white space, or has a control character or a line end in it: no header can carry it; " +
			"give one key and nothing else")
	case strings.Contains(key, ","):
		return "", errors.New("the key has a comma in it: holdfast refuses it in a header, where a comma joins two values; make one with --new")
	case len(key) < shortKey:
		say("this key is so short that it can be guessed from its hash: make one with --new")
	}
	return key, nil
}

// write makes the entry's text. The reader of the file has to understand it,
// and what it has to say about it is said of the flags.
func (f *hashFlags) write(key string, now time.Time) ([]byte, error) {
	sum := sha256.Sum256([]byte(key))
	e := f.entry
	e.SHA256 = hex.EncodeToString(sum[:])
	e.Created = now.UTC().Format(time.RFC3339)
	if e.ID == "" {
		e.ID = "key-" + e.SHA256[:8]
	}
	for flag, value := range map[string]string{"id": e.ID, "client": e.Client, "tenant": e.Tenant, "owner": e.Owner} {
		if printable(value) != value {
			return nil, fmt.Errorf("--%s %q has a character that can not be seen: leave it out", flag, value)
		}
	}
	e.Scopes = strings.FieldsFunc(strings.Join(e.Scopes, " "), unicode.IsSpace)
	switch {
	case f.expires != "" && f.expiresIn != 0:
		return nil, errors.New("--expires and --expires-in say the same: use one of the two")
	case f.expiresIn < 0:
		return nil, fmt.Errorf("--expires-in %v is below 0", f.expiresIn)
	case f.expires != "":
		at, err := time.Parse(time.RFC3339, f.expires)
		if err != nil {
			return nil, fmt.Errorf("--expires %q is not a time such as 2027-01-02T15:04:05Z", f.expires)
		}
		e.Expires = at.UTC().Format(time.RFC3339)
	case f.expiresIn != 0:
		e.Expires = now.UTC().Add(f.expiresIn).Format(time.RFC3339)
	}
	text, err := yaml.Dump([]keyEntry{e}, yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("write the entry: %w", err)
	}
	_, err = apikeys.Parse("entry", text)
	if bad, ok := errors.AsType[*apikeys.FileError](err); ok {
		return nil, fmt.Errorf("no file of API keys may have this entry: %s", bad.Problems[0].Message)
	}
	return text, err
}
