package command

import "fmt"

// Exit is the error of a command that ran what ended with a status of its own: the program ends with that, and
// says nothing more.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
