package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes what packages install beside the program.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man FOLDER",
		Short: "Write manual pages and shell completions for packages",
		Long: `Write a manual page for each command to FOLDER/man, and the completions for
bash, zsh and fish to FOLDER/completions. Packages install these files; to try
completions in your own shell, see 'tollbridge completion --help'.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			man, completions := filepath.Join(args[0], "man"), filepath.Join(args[0], "completions")
			for _, dir := range []string{man, completions} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
			}
			root := c.Root()
			root.DisableAutoGenTag = true // the date would make each build differ
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "TOLLBRIDGE", Section: "1", Source: "tollbridge", Manual: "tollbridge manual"}, man); err != nil {
				return fmt.Errorf("writing the manual pages: %w", err)
			}
			for file, write := range map[string]func(string) error{
				"tollbridge.bash": func(f string) error { return root.GenBashCompletionFileV2(f, true) },
				"_tollbridge":     root.GenZshCompletionFile,
				"tollbridge.fish": func(f string) error { return root.GenFishCompletionFile(f, true) },
			} {
				if err := write(filepath.Join(completions, file)); err != nil {
					return fmt.Errorf("writing the completions: %w", err)
				}
			}
			return nil
		},
	}
}
