package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/holdfast-authz/holdfast/cmd/internal/config"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "write, check and print configurations",
		Long: `Configurations are YAML with "version: 1". Unknown and duplicate keys are errors,
and every error of a file is shown at once, with its line.`,
		Example: `  holdfast config init > holdfast.yaml
  holdfast config validate holdfast.yaml
  holdfast config print --effective -c holdfast.yaml
  holdfast config schema > holdfast.schema.json`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newConfigInitCommand(), newConfigValidateCommand(), newConfigPrintCommand(), newConfigSchemaCommand())
	return cmd
}

func newConfigInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "print an annotated configuration with the defaults, to begin with",
		Example: `  holdfast config init > holdfast.yaml
  holdfast config init | grep -v '^ *#'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Example)
			return err
		},
	}
}

func newConfigValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "show every error of configuration files at once",
		Long: `Reads each file as serve would, looks at the files it names, and prints every
error as FILE:LINE:COLUMN: MESSAGE with the line itself, on standard error.
What is valid and could be safer is said there too, and begins with "advice:".
Exits 0 if all files are valid and 3 if one is not.`,
		Example: `  holdfast config validate holdfast.yaml
  holdfast config validate edge.yaml mesh.yaml && echo fine`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			invalid := 0
			for _, file := range files {
				c, err := loadConfig(file, cmd.ErrOrStderr())
				if err != nil {
					invalid++
					continue
				}
				for _, advice := range c.Advice() {
					advice.Message = "advice: " + advice.Message
					fmt.Fprintln(cmd.ErrOrStderr(), advice.String())
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok (%s, %s, %s)\n", file,
					count(len(c.Issuers), "issuer", "issuers"), count(len(c.Classes), "class", "classes"), count(len(c.Routes), "route", "routes"))
			}
			if invalid > 0 {
				return &exitError{exitInvalid, fmt.Errorf("%d of %s not valid", invalid, count(len(files), "file is", "files are"))}
			}
			return nil
		},
	}
}

func newConfigPrintCommand() *cobra.Command {
	var file string
	var effective bool
	cmd := &cobra.Command{
		Use:   "print [--effective] -c FILE",
		Short: "print a configuration as it was understood",
		Long: `Prints what the file sets, in one form and without comments; with --effective
everything that is in force, the defaults included. The output is a valid
configuration again. An invalid file prints its errors and exits 3.`,
		Example: `  holdfast config print -c holdfast.yaml
  holdfast config print --effective -c holdfast.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return &exitError{exitUsage, errors.New("say which file with -c FILE")}
			}
			c, err := loadConfig(file, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			out, err := c.YAML(effective)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration `FILE`")
	cmd.Flags().BoolVar(&effective, "effective", false, "print the defaults too")
	return cmd
}

func newConfigSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print the JSON Schema of configurations, for editors",
		Long: `Prints a JSON Schema (2020-12) with descriptions and defaults. Editors with a
YAML language server read it from a first line such as
  # yaml-language-server: $schema=holdfast.schema.json
It knows keys, types and words; what keys mean together only validate knows.`,
		Example: `  holdfast config schema > holdfast.schema.json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
}

// loadConfig reads a configuration, or says on stderr what is wrong with it
// and gives the error that ends the command.
func loadConfig(file string, stderr io.Writer) (*config.Config, error) {
	c, problems := config.Load(file)
	if len(problems) == 0 {
		return c, nil
	}
	for _, p := range problems {
		fmt.Fprintln(stderr, p.String())
	}
	return nil, &exitError{exitInvalid, fmt.Errorf("%s: %s", file, count(len(problems), "error", "errors"))}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
