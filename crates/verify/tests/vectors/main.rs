//! Every item of the shared attestation vectors, with the verdict that their README states, at the stated time and outside of it.
//!
//! Each part of the folder has a module with its table; [`account`] keeps the account. A file that nobody reads fails the test by name, and so does a
//! value of `expected.json` that is not compared, and an item without a verdict inside and outside of its time. What needs altered inputs, or
//! another program on the same ones, stands beside the tests of each kind of evidence.

#[cfg(test)]
mod account;
#[cfg(test)]
mod azure;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod snp;
#[cfg(test)]
mod tdx;

#[cfg(test)]
mod table {
    use crate::account::{Account, Counts};
    use crate::{azure, certificates, snp, tdx};

    #[test]
    fn every_item_of_the_vectors_gets_the_verdict_of_their_readme() {
        let Some(mut account) = Account::open() else {
            return;
        };
        account.leave("README.md", "the words that this table is made from");
        snp::judge(&mut account);
        azure::judge(&mut account);
        tdx::judge(&mut account);
        certificates::judge(&mut account);
        assert_eq!(account.open_items(), [""; 0], "read or judged by nobody");
        let counts = account.counts();
        println!(
            "{} items: {} verdicts as stated, {} outside of their time; {} values of expected.json; {} files",
            counts.items, counts.within, counts.outside, counts.values, counts.files
        );
        let wanted = Counts {
            files: 61,
            items: 36,
            within: 80,
            outside: 46,
            values: 396,
        };
        assert_eq!(counts, wanted);
    }
}
