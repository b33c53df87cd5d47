import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['node_modules', 'eslint.config.js'] },
  eslint.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off',
      'no-restricted-properties': [
        'error',
        { property: 'innerHTML', message: 'A snapshot is hostile text: set textContent.' },
        { property: 'outerHTML', message: 'A snapshot is hostile text: set textContent.' },
        { property: 'insertAdjacentHTML', message: 'A snapshot is hostile text: set textContent.' },
      ],
    },
  },
);
