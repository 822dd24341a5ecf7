//! The example of `docs/policy.md` loads, and says what the page says it says.

#[cfg(test)]
mod policy {
    use cloister_verify::policy::PolicyFile;
    use cloister_verify::snp::{Policy, Product, Tcb};
    use cloister_verify::tdx;

    #[test]
    fn example_of_the_page_is_the_default_with_another_floor() {
        let page = include_str!("../../../docs/policy.md");
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let file = PolicyFile::from_toml(example).unwrap();
        assert_eq!(file.tdx, tdx::Policy::default());
        let found = file.snp;
        let floor = Tcb {
            fmc: 0,
            bootloader: 10,
            tee: 0,
            snp: 27,
            microcode: 86,
        };
        let mut wanted = Policy::default();
        wanted.tcb_floor.insert(Product::Genoa, floor);
        assert_eq!(found, wanted);
        assert_eq!((file.azure, file.tpm), Default::default());
    }
}
