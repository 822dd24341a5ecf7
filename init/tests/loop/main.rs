//! PID 1's loop. A program of its own, for the loop collects every child there is, and without the test harness: the loop
//! must run in the first thread, as PID 1's does. Where another thread leaves SIGCHLD unblocked, the kernel may hand the
//! signal to it, and nobody hears of the child.

#[cfg(test)]
mod supervisor;

fn main() {
    #[cfg(test)]
    supervisor::supervisor_answers_and_ends_with_the_right_words();
    println!("test supervisor::supervisor_answers_and_ends_with_the_right_words ... ok");
}
